// Set-up that several commands have in common.

import type { Command } from 'commander'
import type { Credentials } from '../../comm/comm.ts'
import { readOrCreateToken, readToken } from '../../comm/token.ts'
import { loadConfig, type Config } from '../../config/index.ts'
import { configureLoggingFrom } from '../../diagnostics/logging.ts'
import { PlimsollError } from '../../errors/plimsoll-error.ts'
import type { SecurityOptions } from '../shared-options.ts'

/** `create`: make the token when there is none yet (a scheduler does; everybody else needs the scheduler's). */
export async function credentialsOf(options: SecurityOptions, how: { readonly create: boolean }): Promise<Credentials> {
  const { tlsCaFile, tlsCert, tlsKey } = options
  const given = [tlsCaFile, tlsCert, tlsKey].filter((file) => file !== undefined).length
  if (given !== 0 && given !== 3) {
    throw new PlimsollError(
      'INVALID_ARGUMENT',
      '--tls-ca-file, --tls-cert and --tls-key belong together: give all three or none',
    )
  }
  const token = how.create ? await readOrCreateToken(options.tokenFile) : await readToken(options.tokenFile)
  const tls =
    tlsCaFile !== undefined && tlsCert !== undefined && tlsKey !== undefined
      ? { caFile: tlsCaFile, certFile: tlsCert, keyFile: tlsKey }
      : null
  return { token, tls, insecurePlaintext: options.insecurePlaintext === true }
}

/** Reads the configuration and sets logging up for a command. `level` is what the command wants unless configured otherwise. */
export function prepare(command: Command, level: 'info' | 'warning'): Config {
  const config = loadConfig()
  const verbose = command.optsWithGlobals<{ verbose?: boolean }>().verbose === true
  const wanted = config.source('logging.level') === 'default' ? level : config.get('logging.level')
  configureLoggingFrom(config.with({ 'logging.level': verbose ? 'debug' : wanted }))
  return config
}
