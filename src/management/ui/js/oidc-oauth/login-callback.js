// Where a provider of OAuth sends the user back to: the address that RabbitMQ's UI has, so that it need not be registered
// anew. What the provider says goes on to the page.
location.replace(`../../${location.search}`);
