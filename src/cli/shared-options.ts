// Options that several commands have in common. Nothing here loads what a command needs to run: `--help` stays quick.

import type { Command } from 'commander'
import { parseDurationMs } from '../base/units.ts'
import { PlimsollError } from '../errors/plimsoll-error.ts'

export interface SecurityOptions {
  readonly tokenFile?: string
  readonly tlsCaFile?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly insecurePlaintext?: boolean
}

export function addSecurityOptions(command: Command): Command {
  return command
    .option('--token-file <file>', 'file with the shared token (default: ~/.config/plimsoll/token)')
    .option('--tls-ca-file <file>', 'certificate authority for tls:// addresses')
    .option('--tls-cert <file>', 'certificate for tls:// addresses')
    .option('--tls-key <file>', 'private key for tls:// addresses')
    .option('--insecure-plaintext', 'do not encrypt tcp:// beyond this machine (must be given on both ends)')
}

export function addPreloadOption(command: Command): Command {
  const collect = (value: string, all: readonly string[]): string[] => [...all, value]
  return command.option('--preload <module>', 'import this module first (may be repeated)', collect, [])
}

/** A whole number of at least `minimum`, for commander. */
export function wholeNumber(
  name: string,
  minimum: number,
  maximum = Number.MAX_SAFE_INTEGER,
): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() === '' || !Number.isSafeInteger(value) || value < minimum || value > maximum) {
      const range = maximum === Number.MAX_SAFE_INTEGER ? `of at least ${minimum}` : `from ${minimum} to ${maximum}`
      throw new PlimsollError('INVALID_ARGUMENT', `${name} takes a whole number ${range}, not "${text}"`)
    }
    return value
  }
}

/** A duration in milliseconds from text such as "30s", for commander. */
export function duration(name: string): (text: string) => number {
  return (text) => {
    try {
      return parseDurationMs(text)
    } catch {
      throw new PlimsollError('INVALID_ARGUMENT', `${name} takes a duration such as "30s" or "10 min", not "${text}"`)
    }
  }
}

export const portNumber = (name: string): ((text: string) => number) => wholeNumber(name, 0, 65_535)
