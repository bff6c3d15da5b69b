// A row of radio buttons that look like keys: layers, heads.

import { make } from "./dom.js";

let groups = 0;

/** The numbers from 1 to `number`; onPick(index from 0) when one is picked. */
export function choice(legend, number, chosen, onPick) {
  const group = `choice-${(groups += 1)}`;
  return make("fieldset.choice",
    make("legend", legend),
    ...Array.from({ length: number }, (_, i) => make("label",
      make("input", { type: "radio", name: group, value: i, checked: i === chosen, onchange: () => onPick(i) }),
      make("span", String(i + 1)))));
}
