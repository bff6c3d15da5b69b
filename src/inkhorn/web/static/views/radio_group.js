// @ts-check
// A row of radio buttons that look like keys: layers, heads.

import { make } from "./dom.js";

let groups = 0;

/**
 * The numbers from 1 to `count`.
 * @param {string} legend
 * @param {number} count
 * @param {number} selected index from 0
 * @param {(index: number) => void} onSelect
 */
export function radioGroup(legend, count, selected, onSelect) {
  groups += 1;
  const name = `radio-${groups}`;
  return make("fieldset.radio-group",
    make("legend", legend),
    ...Array.from({ length: count }, (_, i) => make("label",
      make("input", { type: "radio", name, value: i, checked: i === selected, onchange: () => onSelect(i) }),
      make("span", String(i + 1)))));
}
