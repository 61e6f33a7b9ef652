// Small buffers out of the pool that Node's buffers share, for executors: no ArrayBuffer is made for each of them.
//
// While ArrayBuffers that are new have 32 MiB or more, V8 collects its young generation before each further one that it
// makes, however small. What has been through two of these is taken for old, and only a collection of everything finds it
// again. So a few small ones between the end of a task and the collection after its result (executor/garbage.ts) would
// keep that result, and those after it, long after they were written.

/** As many zeros. From half the size of the pool on (4 KiB), they are a buffer of their own. */
export function pooledZeros(length: number): Buffer {
  return Buffer.allocUnsafe(length).fill(0)
}

/** From half the size of the pool on, a buffer of its own. */
export function pooledCopy(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes)
}
