// Mosca on 127.0.0.1, its state in memory. Argument: the port.
import mosca from 'mosca'

new mosca.Server({ host: '127.0.0.1', port: Number(process.argv[2]) })
