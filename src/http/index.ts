export { type HttpAddress, parseHttpAddress } from './address.ts'
export { memoryMetrics } from './memory-metrics.ts'
export { byLabel, type Metric, metricsReply, processMetrics, samplesOf } from './prometheus.ts'
export { type HttpReply, type HttpRoute, HttpServer, json, notFound, text } from './server.ts'
