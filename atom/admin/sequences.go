package admin

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"valence/atom"
	"valence/atom/store"

	"github.com/gorilla/mux"
)

// Sequences lists and releases blocked sequence keys.
type Sequences interface {
	BlockedKeys(ctx context.Context, cursor string, limit int) ([]*atom.BlockedKey, string, error)
	SkipKey(ctx context.Context, process, key string) (string, error)
	ReleaseKey(ctx context.Context, process, key string) (string, error)
}

func (a *api) listSequences(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f, cursor, limit, detail := filter(query)
	if n := len(query["cursor"]) + len(query["limit"]); detail == "" && len(query) > n {
		detail = "Unknown parameter; use cursor and limit."
	}
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	if cursor != "" {
		var ok bool
		if cursor, ok = a.verifyCursor(cursor, f); !ok {
			writeProblem(w, http.StatusBadRequest, "The cursor is not from this list.")
			return
		}
	}
	keys, next, err := a.Sequences.BlockedKeys(r.Context(), cursor, limit)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	list := struct {
		Sequences  []*atom.BlockedKey `json:"sequences"`
		NextCursor string             `json:"next_cursor,omitempty"`
	}{Sequences: keys}
	if next != "" {
		list.NextCursor = a.signCursor(next, f)
	}
	writeJSON(w, http.StatusOK, list)
}

func (a *api) skipKey(w http.ResponseWriter, r *http.Request) {
	a.unblock(w, r, "skipped", a.Sequences.SkipKey)
}

func (a *api) releaseKey(w http.ResponseWriter, r *http.Request) {
	a.unblock(w, r, "released", a.Sequences.ReleaseKey)
}

func (a *api) unblock(w http.ResponseWriter, r *http.Request, how string, do func(ctx context.Context, process, key string) (string, error)) {
	if !a.rejectQuery(w, r) {
		return
	}
	process := mux.Vars(r)["name"]
	key, err := url.PathUnescape(mux.Vars(r)["key"])
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "The key in the path is not correctly encoded.")
		return
	}
	id, err := do(r.Context(), process, key)
	switch {
	case errors.Is(err, store.ErrUnknown):
		writeProblem(w, http.StatusNotFound, "No execution of this process blocks this key.")
		return
	case err != nil:
		a.writeError(w, r, err)
		return
	}
	a.Log.Info("sequence key "+how, "process", process, "key", key, "execution", id)
	writeJSON(w, http.StatusOK, map[string]string{"process": process, "key": key, "execution": id, "status": how})
}
