// Transports: authenticated connections that move frames (comm.ts has the contract).

export type {
  Comm,
  ConnectOptions,
  Credentials,
  FilePart,
  Listener,
  ListenOptions,
  PeerIdentity,
  TlsFiles,
} from './comm.ts'
export {
  type Address,
  formatAddress,
  isLoopback,
  isWildcard,
  parseAddress,
  parsePeerAddress,
  type Scheme,
} from './address.ts'
export { connect, isRefused, listen } from './connect.ts'
export { CHUNK_BYTES, MESSAGE_BYTES_MAX } from './limits.ts'
export { createToken, defaultTokenFile, readOrCreateToken, readToken } from './token.ts'
