// Names that a function may use freely: those that every executor has. A global that the program itself set is not one.

import { runInNewContext } from 'node:vm'

const NODE_GLOBALS =
  'process global Buffer clearImmediate setImmediate URL URLSearchParams URLPattern DOMException AbortController AbortSignal Event EventTarget ' +
  'TextEncoder TextDecoder TransformStream TransformStreamDefaultController WritableStream WritableStreamDefaultController ' +
  'WritableStreamDefaultWriter ReadableStream ReadableStreamDefaultReader ReadableStreamBYOBReader ReadableStreamBYOBRequest ' +
  'ReadableByteStreamController ReadableStreamDefaultController ByteLengthQueuingStrategy CountQueuingStrategy TextEncoderStream ' +
  'TextDecoderStream CompressionStream DecompressionStream clearInterval clearTimeout setInterval setTimeout queueMicrotask structuredClone ' +
  'atob btoa BroadcastChannel MessageChannel MessagePort MessageEvent Blob File Performance PerformanceEntry PerformanceMark ' +
  'PerformanceMeasure PerformanceObserver PerformanceObserverEntryList PerformanceResourceTiming performance fetch FormData Headers Request ' +
  'Response SharedArrayBuffer Atomics WebAssembly crypto Crypto CryptoKey SubtleCrypto CustomEvent CloseEvent ErrorEvent WebSocket EventSource navigator Navigator ' +
  'Storage QuotaExceededError console'

/** Of other platforms: code that asks `typeof window` wants to hear `undefined`. */
const OTHER_PLATFORMS =
  'window self document Deno Bun importScripts WorkerGlobalScope HTMLElement Element Node localStorage sessionStorage navigator define jest ' +
  '__webpack_require__ EdgeRuntime __non_webpack_require__ WebSocket EventSource'

let known: ReadonlySet<string> | null = null

/** Names of the language (as this Node has it) and of Node. */
export function knownGlobals(): ReadonlySet<string> {
  if (known !== null) return known
  // A fresh context has the language's globals and nothing that a program added.
  const language = runInNewContext('Object.getOwnPropertyNames(globalThis)') as string[]
  const node = NODE_GLOBALS.split(' ').filter((name) => name in globalThis)
  known = new Set([...language, ...node])
  return known
}

const otherPlatforms: ReadonlySet<string> = new Set(OTHER_PLATFORMS.split(' '))

/** True for a name that Node never has, so that code guarded by `typeof` runs the same everywhere. */
export const isOtherPlatformGlobal = (name: string): boolean => otherPlatforms.has(name)
