// Requests and batched streams over a comm, and a pool of such connections.

export { type RequestOptions } from './asked-request.ts'
export { Connection, type ConnectionOptions, type RequestMap, type ServeContext } from './connection.ts'
export { ConnectionPool, type ConnectionPoolOptions, type Poolable } from './connection-pool.ts'
