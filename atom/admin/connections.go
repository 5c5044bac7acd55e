package admin

import (
	"context"
	"net/http"

	"valence/atom"
)

// Connections lists the connections with their state.
type Connections interface {
	Connections(ctx context.Context) ([]*atom.ConnectionView, error)
}

func (a *api) listConnections(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	views, err := a.Connections.Connections(r.Context())
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"connections": views})
}
