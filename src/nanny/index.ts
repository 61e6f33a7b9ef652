// `plimsoll/nanny`: keeps a worker process running.

export { Nanny, type NannyOptions } from './nanny.ts'
