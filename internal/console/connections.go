package console

import (
	"context"
	"net/http"

	"valence/atom"
)

// Connections answers for the systems that processes call.
type Connections interface {
	Connections(ctx context.Context) ([]*atom.ConnectionView, error)
}

func (c *console) listConnections(w http.ResponseWriter, r *http.Request) {
	if !c.onlyQuery(w, r) {
		return
	}
	views, err := c.Connections.Connections(r.Context())
	if err != nil {
		c.fail(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"connections": views})
}
