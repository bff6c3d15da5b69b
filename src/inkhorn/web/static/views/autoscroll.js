// Staying at the end of a text while it grows: only for those who have scrolled there themselves.

let following = false;
let touched = 0;

const page = document.documentElement;
const atEnd = () => scrollY > 0 && innerHeight + scrollY > page.scrollHeight - 24;

for (const name of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  addEventListener(name, () => (touched = performance.now()), { passive: true });
}
addEventListener("scroll", () => {
  if (performance.now() - touched < 800) following = atEnd();
}, { passive: true });

export function follow() {
  if (following) page.scrollTop = page.scrollHeight;
}

export function stayHere() {
  following = false;
  touched = 0;
}
