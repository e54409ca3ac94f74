'use strict';

const express = require('express');

const app = express();
const port = Number(process.env.PORT || 3000);

app.disable('x-powered-by');
app.get('/', (request, response) => response.send('Served by Express from an immutable image.\n'));
app.get('/health', (request, response) => response.json({ status: 'ok' }));

const server = app.listen(port, () => console.log(`listening on ${port}`));

// As process 1, Node has no default for signals: without this, stopping takes until SIGKILL.
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(() => process.exit(0));
    server.closeIdleConnections();
    setTimeout(() => process.exit(0), 500).unref();
  });
}
