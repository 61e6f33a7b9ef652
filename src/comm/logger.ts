import { getLogger } from '@logtape/logtape'

/** What the transports have to say: one line for each connection that was refused or broken off. */
export const commLogger = getLogger(['plimsoll', 'comm'])
