// The slides are sections of an ordinary page. P shows them alone and large, the arrow keys go
// from one to the next, Escape brings the page back.
"use strict";

const slides = document.querySelector(".slides")
  ? [...document.querySelectorAll(".bd-article > section > section")]
  : [];

/** Scroll to the slide that many places from the one at the top of the window. */
function move(step) {
  const tops = slides.map((slide) => Math.abs(slide.getBoundingClientRect().top));
  const now = tops.indexOf(Math.min(...tops));
  slides[Math.max(0, Math.min(slides.length - 1, now + step))].scrollIntoView();
}

if (slides.length) {
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea") || event.ctrlKey || event.altKey || event.metaKey)
      return;
    const presenting = document.documentElement.classList.contains("presenting");
    const step = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
    if (event.key === "p") document.documentElement.classList.toggle("presenting");
    else if (event.key === "Escape") document.documentElement.classList.remove("presenting");
    else if (presenting && step) move(step);
    else return;
    event.preventDefault();
    if (event.key === "p") move(0);
  });
}
