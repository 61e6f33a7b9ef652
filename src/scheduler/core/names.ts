import { clientId } from '../../base/ids.ts'

/** The pseudo client that wants tasks until they are done, whoever started them. */
export const FIRE_AND_FORGET = clientId('fire-and-forget')
