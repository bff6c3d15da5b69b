// @ts-check
// Keep the end of a growing text in view, but only if the user has scrolled there.

let following = false;
let lastInput = 0;

const page = document.documentElement;
const atEnd = () => scrollY > 0 && innerHeight + scrollY > page.scrollHeight - 24;

for (const name of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  addEventListener(name, () => { lastInput = performance.now(); }, { passive: true });
}
addEventListener("scroll", () => {
  if (performance.now() - lastInput < 800) following = atEnd();
}, { passive: true });

export function autoscroll() {
  if (following) page.scrollTop = page.scrollHeight;
}

export function resetAutoscroll() {
  following = false;
  lastInput = 0;
}
