import { ThreadWorker } from 'poolifier'
import { increment, sleep } from './tasks.js'

export default new ThreadWorker({ increment, sleep })
