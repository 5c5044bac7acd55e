package admin

import (
	"net/http"
	"time"

	"valence/atom/store"
)

// member is a member of a group as the API returns it.
type member struct {
	Name         string    `json:"name"`
	Epoch        int64     `json:"epoch"`
	Version      string    `json:"version"`
	This         bool      `json:"this"` // it answers this request
	JoinedAt     time.Time `json:"joined_at"`
	LeaseSeconds float64   `json:"lease_seconds"` // until its lease ends; 0: it has ended
	Blocks       int64     `json:"blocks"`
	Lanes        int64     `json:"lanes"`
	Backlog      int64     `json:"backlog"`
	LagSeconds   float64   `json:"lag_seconds"`
}

// group serves the members of the group.
func (a *api) group(w http.ResponseWriter, r *http.Request) {
	if !a.rejectQuery(w, r) {
		return
	}
	if a.Group == nil {
		writeProblem(w, http.StatusNotFound, "This atom is not a member of a group. Start it with --store and --group to join one.")
		return
	}
	g, err := a.Group.Group(r.Context())
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	members := make([]member, len(g.Members))
	for i, m := range g.Members {
		members[i] = memberOf(m)
	}
	writeJSON(w, http.StatusOK, map[string]any{"group": g.Name, "members": members})
}

func memberOf(m *store.MemberView) member {
	return member{
		Name: m.Name, Epoch: m.Epoch, Version: m.Version, This: m.This, JoinedAt: m.Joined.Truncate(time.Millisecond), LeaseSeconds: seconds(m.Lease),
		Blocks: m.Blocks, Lanes: m.Lanes, Backlog: m.Backlog, LagSeconds: seconds(m.Lag),
	}
}

// seconds returns a duration in seconds, to the millisecond.
func seconds(d time.Duration) float64 { return d.Truncate(time.Millisecond).Seconds() }
