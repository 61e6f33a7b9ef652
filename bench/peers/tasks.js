// The pools' tasks: plain JavaScript, because their threads load it as it is. Piscina runs the exports by name.

export const increment = (x) => x + 1

export const sleep = (ms) => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}
