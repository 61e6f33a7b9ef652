import { partLogger } from '../base/part-logger.ts'

/** What the transports have to say: one line for each connection that was refused or broken off. */
export const commLogger = partLogger('comm')
