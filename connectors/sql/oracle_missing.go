//go:build !oracle

package sql

import (
	"crypto/tls"
	"database/sql/driver"
	"errors"

	"valence/internal/access"
)

// withOracle says that the program was built with the driver for Oracle.
const withOracle = false

// oracle is not part of this build.
var oracle dialect

var errNoOracle = errors.New("`driver: oracle` is not part of this build of valence: build it with `go build -tags oracle ./cmd/valence`")

func openOracle(*settings, *tls.Config, access.DialFunc) (driver.Connector, error) {
	return nil, errNoOracle
}
