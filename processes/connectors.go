package processes

import (
	"slices"
)

// languageConnectors are the names that connectors of the language have. One that
// is not registered is not available in this version.
var languageConnectors = []string{"amqp", "amqp1", "file", "ftp", "http", "imap", "kafka", "mqtt", "nats", "platform", "s3", "sftp", "smtp", "soap", "sql"}

// ConnectorNames returns the names of all connectors, with those that are not
// available in this version.
func (c *Catalog) ConnectorNames() []string {
	names := slices.Concat(c.Connectors.Names(), languageConnectors)
	slices.Sort(names)
	return slices.Compact(names)
}
