// The processes of a cluster and what each has used of the processors.

import { readFileSync } from 'node:fs'
import type { Client } from 'plimsoll'

export const ROLES = ['client', 'scheduler', 'worker', 'executor'] as const
export type Role = (typeof ROLES)[number]

export interface Member {
  readonly role: Role
  readonly pid: number
}

/** Linux counts processor time in hundredths of a second, whatever the kernel's own tick is. */
const TICK_MS = 10

export async function members(client: Client): Promise<Member[]> {
  const { pid, workers } = await client.schedulerInfo()
  const found: Member[] = [
    { role: 'client', pid: process.pid },
    { role: 'scheduler', pid },
  ]
  for (const worker of Object.values(workers)) {
    found.push({ role: 'worker', pid: worker.pid })
    for (const executor of worker.executors) found.push({ role: 'executor', pid: executor.pid })
  }
  return found
}

/** Processor time of all threads of a process since its start, milliseconds. */
export function cpuMs(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  // The name in parentheses may contain spaces; the fields after it do not.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}
