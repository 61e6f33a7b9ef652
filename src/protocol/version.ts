/** Both ends of every connection must name the same number; raised with every change that an older peer would misread. */
export const PROTOCOL_VERSION = 2

/** What a peer is, named in the handshake. `probe` is `plimsoll status` and the like: asks, never computes. */
export const ROLES = ['client', 'scheduler', 'worker', 'nanny', 'probe'] as const
export type Role = (typeof ROLES)[number]
