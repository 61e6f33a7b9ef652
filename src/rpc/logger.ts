import { getLogger } from '@logtape/logtape'

export const rpcLogger = getLogger(['plimsoll', 'rpc'])
