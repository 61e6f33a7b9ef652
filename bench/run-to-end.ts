// Runs a program, keeps what it says, and bounds its time. Nothing that was started outlives this process: programs in groups
// of their own are ended with all their children, the others with the group they are in.

import { spawn } from 'node:child_process'

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly timedOut: boolean
}

export interface RunOptions {
  readonly timeoutMs: number
  /** For what this process answers for alone; a program that is part of a sample stays in that sample's group. */
  readonly ownGroup?: boolean
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string>>
}

const OUTPUT_MAX = 1_000_000
/** A program that is told to end may remove its files first. */
const CLEAN_UP_MS = 10_000

/** Never rejects: a program that could not be started has neither a code nor a signal. */
export function runToEnd(command: string, args: readonly string[], options: RunOptions): Promise<Ended> {
  const { timeoutMs, ownGroup = false, env = {} } = options
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: ownGroup,
      env: { ...process.env, ...env },
    })
    const output = { stdout: '', stderr: '' }
    let timedOut = false
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] = (output[name] + text).slice(-OUTPUT_MAX)
      })
    }
    const end = (signal: NodeJS.Signals): void => {
      if (child.pid === undefined) return
      try {
        process.kill(ownGroup ? -child.pid : child.pid, signal)
      } catch {
        // It has just ended by itself.
      }
    }
    const endGently = (): void => end('SIGTERM')
    const timers = [
      setTimeout(() => {
        timedOut = true
        endGently()
      }, timeoutMs),
      setTimeout(() => end('SIGKILL'), timeoutMs + CLEAN_UP_MS),
    ]
    process.once('exit', endGently)
    const finish = (code: number | null, signal: NodeJS.Signals | null): void => {
      for (const timer of timers) clearTimeout(timer)
      process.removeListener('exit', endGently)
      resolve({ code, signal, ...output, timedOut })
    }
    child.once('error', (error) => {
      output.stderr += error.message
      finish(null, null)
    })
    child.once('close', finish)
  })
}
