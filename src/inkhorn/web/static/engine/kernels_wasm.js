// @ts-check
// The kernels of kernels_scalar.js about ten times as fast, with the same bits: SIMD instructions, which JavaScript reaches
// only through WebAssembly. The module is assembled here, instruction by instruction, when the page starts; the opcodes,
// such as 0xfd, are those of the WebAssembly specification.

/** @typedef {number[]} Code */

/** @type {(n: number) => Code} */
const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >> 7)]); // LEB128
/** @type {(n: number) => Code} */
const signed = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]);
/** @type {(items: (Code | number)[]) => Code} */
const list = (items) => [...unsigned(items.length), ...items.flat()];
/** @type {(id: number, content: Code) => Code} */
const section = (id, content) => [id, ...unsigned(content.length), ...content];
/** @type {(name: string) => Code} */
const text = (name) => list([...new TextEncoder().encode(name)]);

const I32 = 0x7f; // types
const V128 = 0x7b;
const END = 0x0b;
/** @type {(local: number) => Code} */
const get = (local) => [0x20, local];
/** @type {(local: number) => Code} */
const set = (local) => [0x21, local];
/** @type {(n: number) => Code} */
const constant = (n) => [0x41, ...signed(n)];
/** @type {(local: number, by: Code) => Code} local += by */
const advance = (local, by) => [...get(local), ...by, 0x6a, ...set(local)];
/** @type {(...body: Code[]) => Code} */
const loop = (...body) => [0x03, 0x40, ...body.flat(), END];
/** @type {(count: number) => Code} repeat the loop unless --count is 0 */
const repeat = (count) => [...get(count), ...constant(-1), 0x6a, 0x22, count, 0x0d, 0];

/** @type {(opcode: number, ...rest: number[]) => Code} */
const simd = (opcode, ...rest) => [0xfd, ...unsigned(opcode), ...rest];
const zeros = simd(12, ...Array(16).fill(0)); // v128.const
/** @type {(offset: number) => Code} */
const load = (offset) => simd(0, 0, ...unsigned(offset)); // v128.load
/** @type {(offset: number) => Code} */
const loadInt8 = (offset) => simd(1, 0, ...unsigned(offset)); // v128.load8x8_s: eight int8 as int16
const loadSplat = simd(9, 0, 0); // v128.load32_splat
/** @type {(offset: number) => Code} */
const store = (offset) => simd(11, 0, ...unsigned(offset)); // v128.store
const dotInt16 = simd(0xba); // i32x4.dot_i16x8_s
const addInt32 = simd(0xae); // i32x4.add
const multiplyFloat = simd(0xe6); // f32x4.mul
const addFloat = simd(0xe4); // f32x4.add

// The locals of a function: six i32 parameters, three i32, a vector, and four accumulators of four lanes.
const [A, X, OUT, COUNT, GROUPS, STRIDE, left, input, row, splat, ...accumulators] = Array(14).keys();

/**
 * Sixteen outputs at a time: `step(i)` accumulates into the i-th four, over COUNT inputs of 32 bits and the rows at A.
 * @param {(i: number) => Code} step
 * @param {Code} stride bytes from row to row
 * @param {Code} nextGroup moves A to the next sixteen outputs
 */
const kernel = (step, stride, nextGroup) => [
  ...loop(
    ...accumulators.map((sum) => [...zeros, ...set(sum)]),
    get(COUNT), set(left), get(X), set(input), get(A), set(row),
    loop(
      get(input), loadSplat, set(splat),
      ...accumulators.map((sum, i) => [...get(sum), ...step(i), ...set(sum)]),
      advance(row, stride), advance(input, constant(4)), repeat(left),
    ),
    ...accumulators.map((sum, i) => [...get(OUT), ...get(sum), ...store(16 * i)]),
    nextGroup, advance(OUT, constant(64)), repeat(GROUPS),
  ),
  END,
];

const matvec = kernel(
  (i) => [...get(row), ...loadInt8(8 * i), ...get(splat), ...dotInt16, ...addInt32],
  constant(32), [...get(row), ...set(A)], // the next group begins where this one ends
);
const weightedSum = kernel(
  (i) => [...get(row), ...load(16 * i), ...get(splat), ...multiplyFloat, ...addFloat],
  get(STRIDE), advance(A, constant(64)), // the next group is beside this one
);

const locals = list([[3, I32], [5, V128]]);
/** @type {(body: Code) => Code} */
const code = (body) => [...unsigned(locals.length + body.length), ...locals, ...body];
const BYTES = new Uint8Array([
  0, ...new TextEncoder().encode("asm"), 1, 0, 0, 0,
  ...section(1, list([[0x60, ...list(Array(6).fill(I32)), 0]])), // one function type: six i32 parameters, no result
  ...section(2, list([[...text("page"), ...text("memory"), 2, 0, 1]])), // the memory is imported
  ...section(3, list([0, 0])), // two functions
  ...section(7, list([[...text("matvec"), 0, 0], [...text("weightedSum"), 0, 1]])), // exported
  ...section(10, list([code(matvec), code(weightedSum)])),
]);
/** @type {WebAssembly.Module | null} */
let compiled = null;

/**
 * As scalarKernels. Throws where the browser has no SIMD instructions or the page's policy forbids WebAssembly.
 * @param {number} bytes
 * @returns {ReturnType<typeof import("./kernels_scalar.js").scalarKernels>}
 */
export function wasmKernels(bytes) {
  compiled ??= new WebAssembly.Module(BYTES);
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
  const { exports } = new WebAssembly.Instance(compiled, { page: { memory } });
  return { buffer: memory.buffer, .../** @type {any} */ (exports) };
}
