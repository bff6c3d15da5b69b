// @ts-check
// Which texts each entry of the browser's history shows. history.state.texts is the number of the entry's set of texts, and
// history.state.inspector the token that the inspector shows.

/** @import { Client } from "../api/client.js" */
/** @import { SamplePanel } from "./sample_panel.js" */
/** @import { SharedText } from "./share_link.js" */

import { loadTexts, newestSet, saveTexts } from "./saved_texts.js";
import { fromFragment } from "./share_link.js";

/**
 * What the page does for its history.
 * @typedef {object} Page
 * @property {() => SamplePanel[]} samples the shown ones
 * @property {(client: Client, count: number) => void} setSamples replaces them by empty ones
 * @property {(client: Client, link: SharedText) => void} openLink generates the text of a link
 * @property {() => boolean} inspecting whether the inspector is open
 * @property {(sample: SamplePanel, end: number) => void} inspect opens it, or moves it to another token
 */

export class TextHistory {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.set = 0; // the number of the shown set of texts; 0 before there is one
  }

  /** Store the shown texts, also those that are being generated. */
  store() {
    const samples = this.page.samples();
    if (this.set && samples.length) saveTexts(this.set, samples.map((sample) => sample.save()));
  }

  /**
   * Whether the text of a link is shown.
   * @param {SharedText} link
   */
  shows(link) {
    return this.page.samples().some((sample) => sample.contains(link));
  }

  /** Remove a link from the address if its text is no longer here: a reload should not bring it back. */
  dropStaleLink() {
    const link = fromFragment(location.hash);
    if (link && !this.shows(link)) history.replaceState(history.state, "", "#playground");
  }

  /** Remove a link from the address before another text is generated. */
  dropLink() {
    if (fromFragment(location.hash)) history.replaceState({ texts: this.set }, "", "#playground");
  }

  /**
   * Show the set of texts that the history entry names. A new entry shows the text of its link, unless it is here, or
   * keeps the current set.
   * @param {Client} client
   */
  showEntry(client) {
    const { page } = this;
    const link = fromFragment(location.hash);
    const set = history.state?.texts ?? (link && this.set ? 0 : this.set || newestSet());
    if (set && set !== this.set) {
      this.store();
      this.set = set;
      const texts = loadTexts(set);
      if (texts.length) page.setSamples(client, texts.length);
      texts.forEach((text, i) => { page.samples()[i].restore(text); });
    }
    if (link && !this.shows(link) && (history.state?.texts === undefined || page.samples().length === 0)) {
      this.store();
      this.set = newestSet() + 1;
      page.openLink(client, link);
    }
    this.set ||= newestSet() + 1;
    history.replaceState({ ...history.state, texts: this.set }, "");
    this.dropStaleLink();
    const inspected = history.state.inspector;
    const sample = page.samples()[inspected?.sample];
    if (sample && !page.inspecting()) page.inspect(sample, inspected.end);
  }

  /**
   * Inspect a token. Opening the inspector makes a history entry, so that Back closes it.
   * @param {SamplePanel} sample
   * @param {number} end the offset after the token
   */
  inspect(sample, end) {
    if (!this.page.inspecting()) {
      history.pushState({ texts: this.set, inspector: { sample: this.page.samples().indexOf(sample), end } }, "");
    }
    this.page.inspect(sample, end);
  }
}
