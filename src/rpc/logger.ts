import { partLogger } from '../base/part-logger.ts'

export const rpcLogger = partLogger('rpc')
