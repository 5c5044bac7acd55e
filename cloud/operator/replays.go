package operator

import (
	"encoding/json"
	"time"

	"valence/cloud"
)

type replayView struct {
	ID      string          `json:"id"`
	Atom    string          `json:"atom,omitempty"` // name
	State   string          `json:"state"`          // a state of wire.ReplayReport, or requested
	Done    int             `json:"done"`
	Total   int             `json:"total"`
	Error   string          `json:"error,omitempty"`
	Created time.Time       `json:"created"`
	Result  json.RawMessage `json:"result,omitempty"`
}

func viewReplay(x cloud.Replay) replayView {
	return replayView{x.ID, x.AtomName, x.State, x.Done, x.Total, x.Error, x.Created, x.Result}
}

// createReplay replays executions of an environment with a package.
func (a *api) createReplay(c *call) (any, error) {
	var in struct {
		Package   string `json:"package"` // id
		Atom      string `json:"atom"`    // id or name; "": any
		Last      int    `json:"last"`
		Statement []byte `json:"statement"`
		Signature []byte `json:"signature"`
	}
	if err := c.read(&in); err != nil {
		return nil, err
	}
	x, err := a.service.Replays.Start(c.Context(), c.p, cloud.ReplayRequest{
		EnvironmentID: c.vars["id"], PackageID: in.Package, Atom: in.Atom, Last: in.Last, Statement: in.Statement, Signature: in.Signature,
	})
	return viewReplay(x), err
}

func (a *api) replay(c *call) (any, error) {
	x, err := a.service.Replays.Get(c.Context(), c.p, c.vars["id"])
	return viewReplay(x), err
}

func (a *api) cancelReplay(c *call) (any, error) {
	return nil, a.service.Replays.Cancel(c.Context(), c.p, c.vars["id"])
}
