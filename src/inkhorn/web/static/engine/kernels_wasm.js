// The two products of plain.js ten times as fast, and bit for bit the same: by the browser's vector instructions, which
// only WebAssembly reaches. The module is spelled here, instruction by instruction, and made when the page starts; numbers
// such as 0xfd are those of its specification.

const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >> 7)]); // LEB128
const signed = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]);
const list = (items) => [...unsigned(items.length), ...items.flat()];
const section = (id, ...content) => [id, ...unsigned(content.flat().length), ...content.flat()];
const text = (name) => list([...new TextEncoder().encode(name)]);

const I32 = 0x7f, V128 = 0x7b; // types
const get = (local) => [0x20, local];
const set = (local) => [0x21, local];
const number = (n) => [0x41, ...signed(n)];
const advance = (local, by) => [...get(local), ...by, 0x6a, ...set(local)]; // local += by
const loop = (...body) => [0x03, 0x40, ...body.flat(), 0x0b];
const repeat = (count) => [...get(count), ...number(-1), 0x6a, 0x22, count, 0x0d, 0]; // the loop, unless --count is 0

const vector = (code, ...rest) => [0xfd, ...unsigned(code), ...rest];
const zeros = vector(12, ...Array(16).fill(0));
const load = (offset) => vector(0, 0, ...unsigned(offset)); // 4 numbers of 32 bits
const loadWidened = (offset) => vector(1, 0, ...unsigned(offset)); // 8 numbers of 8 bits, to 16 bits each
const loadRepeated = vector(9, 0, 0); // 32 bits, four times beside each other
const store = (offset) => vector(11, 0, ...unsigned(offset));
const dotPairs = vector(0xba); // 8 by 8 numbers of 16 bits: 4 sums of two products
const add = vector(0xae);
const multiplyFloats = vector(0xe6);
const addFloats = vector(0xe4);

// Of a function: six parameters, whole numbers all, then its own: three whole numbers, a vector, and four sums of four.
const [A, X, SUMS, COUNT, GROUPS, STRIDE, left, input, row, spread, ...four] = Array(14).keys();

/** Sixteen sums at a time: `step(sum, i)` adds to the i-th four what `count` inputs of 32 bits and the rows from A on give. */
const sixteens = (step, stride, rowsOfGroup) => [
  loop(
    ...four.map((sum) => [...zeros, ...set(sum)]),
    get(COUNT), set(left), get(X), set(input), get(A), set(row),
    loop(
      get(input), loadRepeated, set(spread),
      ...four.map((sum, i) => [...get(sum), ...step(i), ...set(sum)]),
      advance(row, stride), advance(input, number(4)), repeat(left),
    ),
    ...four.map((sum, i) => [...get(SUMS), ...get(sum), ...store(16 * i)]),
    rowsOfGroup, advance(SUMS, number(64)), repeat(GROUPS),
  ),
  0x0b,
].flat();

const multiply = sixteens(
  (i) => [...get(row), ...loadWidened(8 * i), ...get(spread), ...dotPairs, ...add],
  number(32), [...get(row), ...set(A)], // the next group begins where this one ends
);
const weigh = sixteens(
  (i) => [...get(row), ...load(16 * i), ...get(spread), ...multiplyFloats, ...addFloats],
  get(STRIDE), advance(A, number(64)), // the next group is beside this one
);

const locals = list([[3, I32], [5, V128]]);
const code = (body) => [...unsigned(locals.length + body.length), ...locals, ...body];
const BYTES = new Uint8Array([
  0, ...new TextEncoder().encode("asm"), 1, 0, 0, 0,
  ...section(1, list([[0x60, ...list(Array(6).fill(I32)), 0]])), // one type of function, of six whole numbers
  ...section(2, list([[...text("page"), ...text("memory"), 2, 0, 1]])), // a memory comes from outside
  ...section(3, list([0, 0])), // two functions
  ...section(7, list([[...text("multiply"), 0, 0], [...text("weigh"), 0, 1]])), // and their names
  ...section(10, list([code(multiply), code(weigh)])),
]);
let compiled = null;

/** As `plain` of plain.js; fails where the browser has no vector instructions, or the page's policy forbids WebAssembly. */
export function simd(bytes) {
  compiled ??= new WebAssembly.Module(BYTES);
  const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / 65536) });
  const { multiply, weigh } = new WebAssembly.Instance(compiled, { page: { memory } }).exports;
  return { buffer: memory.buffer, multiply, weigh };
}
