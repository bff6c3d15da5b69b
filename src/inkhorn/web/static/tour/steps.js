// @ts-check
// The steps of the tour in their order.

/** @import { Child } from "../views/dom.js" */
/** @import { Context } from "./context.js" */
/** @import { Part } from "./model_map.js" */

import { heads, headTable, qkv } from "./attention_steps.js";
import { block, layerNorm, mlp, residual } from "./block_steps.js";
import { embedding, tokens } from "./input_steps.js";
import { sampling, unembedding } from "./output_steps.js";
import { gradient, loss } from "./training_steps.js";

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {string} title
 * @property {Part[]} parts of the model that it is about
 * @property {(context: Context) => string[]} text paragraphs; *terms* are defined there
 * @property {(context: Context) => Promise<Child[]>} figure
 * @property {string} question
 * @property {(context: Context) => string} answer
 * @property {string[] | ((context: Context) => string[])} code statements of src/inkhorn/model.py, which a test looks up there
 * @property {string[]} links keys of LINKS
 */

/** @type {Step[]} */
export const STEPS = [tokens, embedding, qkv, headTable, heads, mlp, residual, layerNorm, unembedding, sampling, block, loss, gradient];
