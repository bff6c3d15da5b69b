// @ts-check
// The slider in report.html. The bundle of this file and its modules is part of the report, the data are in an element.

import { find } from "../views/dom.js";
import { storedFrame, TrainingView } from "../views/training.js";

/** @type {{ training: number[][], views: Record<string, import("../views/training.js").StoredView & { prompt: string }>, snapshots: import("../views/training.js").Point[] }} */
const { training, views, snapshots } = JSON.parse(find("#snapshot-data").textContent ?? "");
const slider = new TrainingView();
find("#slider").append(slider.root);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("themechange")));
slider.open({
  snapshots,
  training: training.map(([step, loss]) => ({ step, loss })),
  prompt: views[snapshots[0].step].prompt,
  frame: async (step, layer) => storedFrame(views[step], layer),
});
