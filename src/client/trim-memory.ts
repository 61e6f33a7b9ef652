import { isErrorCode } from '../errors/plimsoll-error.ts'
import type { Peers } from './peers.ts'

/** Longer than a worker waits for its executors. */
const TIMEOUT_MS = 10_000

/** Asks each of these workers. One that is gone meanwhile is left out. */
export async function trimMemory(
  workers: Readonly<Record<string, unknown>>,
  peers: Peers,
): Promise<Record<string, number>> {
  const freed: Record<string, number> = {}
  const ask = async (address: string): Promise<void> => {
    try {
      const { beforeBytes, afterBytes } = await peers.use(address, (connection) =>
        connection.request('trim-memory', {}, { timeoutMs: TIMEOUT_MS }),
      )
      freed[address] = Math.max(0, beforeBytes - afterBytes)
    } catch (error) {
      if (!isErrorCode(error, 'CONNECT_FAILED') && !isErrorCode(error, 'COMM_CLOSED')) throw error
    }
  }
  await Promise.all(Object.keys(workers).map(ask))
  return freed
}
