import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { parsePeerAddress } from '../../comm/index.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'

const POLL_MS = 100

/** The address given, or the one in a scheduler file, which is waited for. @throws INVALID_ARGUMENT, TIMEOUT */
export async function schedulerAddress(
  address: string | undefined,
  file: string | undefined,
  timeoutMs: number,
): Promise<string> {
  if (address !== undefined) {
    parsePeerAddress(address)
    return address
  }
  if (file === undefined)
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      'give the address of a scheduler, such as tcp://127.0.0.1:8786, or --scheduler-file',
    )
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const found = await readSchedulerFile(file)
    if (found !== null) return found
    if (performance.now() > deadline) {
      throw new PlimsollError(
        'TIMEOUT',
        `the scheduler file ${file} did not appear within ${timeoutMs / 1000} s: is the scheduler started with the same --scheduler-file?`,
        { file },
      )
    }
    await delay(POLL_MS)
  }
}

async function readSchedulerFile(file: string): Promise<string | null> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
  const address = addressIn(text)
  if (typeof address !== 'string')
    throw new PlimsollError('INVALID_ARGUMENT', `${file} is not a scheduler file: it has no "address"`, { file })
  return address
}

function addressIn(text: string): unknown {
  try {
    return (JSON.parse(text) as { address?: unknown } | null)?.address
  } catch {
    return undefined
  }
}
