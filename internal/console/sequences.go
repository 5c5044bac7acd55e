package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/gorilla/mux"

	"valence/atom"
)

// Sequences answers for the keys of sequences that are blocked.
type Sequences interface {
	BlockedKeys(ctx context.Context, cursor string, limit int) ([]*atom.BlockedKey, string, error)
	SkipKey(ctx context.Context, process, key string) (string, error)
	ReleaseKey(ctx context.Context, process, key string) (string, error)
}

func (c *console) listSequences(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f, cursor, limit, detail := filter(query)
	if n := len(query["cursor"]) + len(query["limit"]); detail == "" && len(query) > n {
		detail = "There are the parameters cursor and limit here."
	}
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	if cursor != "" {
		var ok bool
		if cursor, ok = c.openCursor(cursor, f); !ok {
			writeProblem(w, http.StatusBadRequest, "The cursor is not one that this list gave.")
			return
		}
	}
	keys, next, err := c.Sequences.BlockedKeys(r.Context(), cursor, limit)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	list := struct {
		Sequences  []*atom.BlockedKey `json:"sequences"`
		NextCursor string             `json:"next_cursor,omitempty"`
	}{Sequences: keys}
	if next != "" {
		list.NextCursor = c.sealCursor(next, f)
	}
	writeJSON(w, http.StatusOK, list)
}

func (c *console) skipKey(w http.ResponseWriter, r *http.Request) {
	c.unblock(w, r, "skipped", c.Sequences.SkipKey)
}

func (c *console) releaseKey(w http.ResponseWriter, r *http.Request) {
	c.unblock(w, r, "released", c.Sequences.ReleaseKey)
}

func (c *console) unblock(w http.ResponseWriter, r *http.Request, how string, do func(ctx context.Context, process, key string) (string, error)) {
	if !c.onlyQuery(w, r) {
		return
	}
	process := mux.Vars(r)["name"]
	key, err := url.PathUnescape(mux.Vars(r)["key"])
	if err != nil {
		writeProblem(w, http.StatusBadRequest, "The key in the path is not encoded as it should be.")
		return
	}
	id, err := do(r.Context(), process, key)
	switch {
	case errors.Is(err, atom.ErrUnknown):
		writeProblem(w, http.StatusNotFound, "No execution of this process blocks this key.")
		return
	case err != nil:
		c.fail(w, r, err)
		return
	}
	c.Log.Info("sequence key "+how, "process", process, "key", key, "execution", id)
	writeJSON(w, http.StatusOK, map[string]string{"process": process, "key": key, "execution": id, "status": how})
}
