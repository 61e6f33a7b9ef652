// The environment of a worker process. From low to high: `nanny.pre-spawn-environ`, `nanny.environ`, this process's own
// environment, the `env` option. Node has no way to set a variable after the start that libraries would still see, so both
// configuration keys end up in the same place; the first one holds what must be there before any code runs.

import type { Config } from '../config/index.ts'

/** Not for workers: the shared secret travels over IPC, and tasks must not find it; channels of this process are not theirs. */
const WITHHELD = [
  'PLIMSOLL_TOKEN',
  'PLIMSOLL_TOKEN_FILE',
  'NODE_CHANNEL_FD',
  'NODE_CHANNEL_SERIALIZATION_MODE',
  'NODE_UNIQUE_ID',
]

/** Options of Node that mean the same in every process. All others (inspector, heap size, loaders, watch) belong to the one they were given to. */
const KEPT_OPTION =
  /^--(no-deprecation|no-warnings|trace-[a-z-]+|enable-source-maps|dns-result-order|use-(openssl|bundled|system)-ca|tls-[a-z0-9.-]+|openssl-[a-z-]+|icu-data-dir)(=|$)/

type Variables = Readonly<Record<string, string | undefined>>

/** Variables for a worker process that is about to be spawned. */
export function workerEnvironment(
  config: Config,
  options: { readonly own?: Variables; readonly env?: Variables } = {},
): Record<string, string> {
  const own = options.own ?? process.env
  const configured = { ...config.get('nanny.pre-spawn-environ'), ...config.get('nanny.environ') }
  const variables: Record<string, string> = {}
  for (const layer of [configured, own]) {
    for (const [name, value] of Object.entries(layer)) {
      if (value !== undefined && value !== null) variables[name] = value
    }
  }
  for (const name of WITHHELD) delete variables[name]
  const nodeOptions = cleanNodeOptions(variables['NODE_OPTIONS'] ?? '')
  if (nodeOptions === '') delete variables['NODE_OPTIONS']
  else variables['NODE_OPTIONS'] = nodeOptions
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (value !== undefined) variables[name] = value
  }
  return variables
}

/** NODE_OPTIONS without what was meant for this process only. */
export function cleanNodeOptions(text: string): string {
  return text
    .split(/\s+/)
    .filter((option) => KEPT_OPTION.test(option))
    .join(' ')
}
