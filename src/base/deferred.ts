/** A promise with its handles. `promise` never triggers an unhandled rejection by itself: whoever awaits it sees the error. */
export interface Deferred<T> {
  readonly promise: Promise<T>
  resolve(value: T): void
  reject(reason: unknown): void
  readonly settled: boolean
}

export function deferred<T = void>(): Deferred<T> {
  let settled = false
  let resolve!: (value: T) => void
  let reject!: (reason: unknown) => void
  const promise = new Promise<T>((onResolve, onReject) => {
    resolve = (value) => {
      settled = true
      onResolve(value)
    }
    reject = (reason) => {
      settled = true
      onReject(reason instanceof Error ? reason : new Error(String(reason)))
    }
  })
  promise.catch(() => {})
  return {
    promise,
    resolve,
    reject,
    get settled() {
      return settled
    },
  }
}
