// Buffers that files and sockets are read into, again and again. The kernel's copy is three times slower when the target lies
// 16 bytes behind the source within their pages, and that is where they lie: data starts at the start of a page, and a large
// allocation 16 bytes behind one.

/** From 16 bytes behind the start of a page to the start of the next. */
export const PAGE_LEAD_BYTES = 4096 - 16
/** Smaller allocations start anywhere. */
const LARGE_BYTES = 128 * 1024

/** Memory with undefined content; with the common C library large memory starts where a page does. */
export function pageStartBytes(length: number): Buffer {
  if (length < LARGE_BYTES) return Buffer.allocUnsafeSlow(length)
  return Buffer.allocUnsafeSlow(PAGE_LEAD_BYTES + length).subarray(PAGE_LEAD_BYTES)
}
