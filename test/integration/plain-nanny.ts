/** What a nanny on this machine is told, beside where it belongs and what its worker may take. */
export const plainNanny = {
  tls: null,
  insecurePlaintext: false,
  host: '',
  port: 0,
  http: null,
  resources: {},
  executor: 'process',
  deathTimeoutMs: null,
} as const
