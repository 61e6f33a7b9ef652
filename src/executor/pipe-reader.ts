// Reads the pipe from the worker: always into the same buffer, out of which each chunk is copied. Without one of ours, Node
// makes a buffer of 64 KiB for each chunk, and keeps large results in memory with it (base/pooled-bytes.ts).
//
// A chunk that is handed out is never written to again: messages keep views of it, for as long as a task waits, and a part
// of a message is kept until the rest is there.

import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net'
import { pooledCopy } from '../base/pooled-bytes.ts'

/** What a pipe holds by default: one read empties it. */
const READ_BYTES = 2 ** 16

/** `onEnd`: also when it cannot be read any more. What `onChunk` throws is an uncaught exception. */
export function readPipe(fd: number, onChunk: (chunk: Buffer) => void, onEnd: () => void): void {
  const onread: OnReadOpts = {
    buffer: Buffer.allocUnsafeSlow(READ_BYTES),
    callback: (length, buffer) => {
      onChunk(pooledCopy(buffer.subarray(0, length)))
      return true
    },
  }
  // The types know it for connections only.
  const options: SocketConstructorOpts & { readonly onread: OnReadOpts } = {
    fd,
    readable: true,
    writable: false,
    onread,
  }
  const input = new Socket(options)
  input.on('end', onEnd)
  input.on('error', onEnd)
  // Its end is told only to who reads on.
  input.resume()
}
