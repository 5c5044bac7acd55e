package admin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"valence/atom"
	"valence/atom/store"

	"github.com/gorilla/mux"
)

const (
	defaultPage = 50
	maxPage     = 500
)

// statuses are the valid values of the status parameter.
var statuses = []string{
	string(store.Accepted), atom.StatusRunning, string(store.Waiting), string(store.Held),
	string(store.Completed), string(store.CompletedWithWarnings), string(store.Failed),
	string(store.Expired), string(store.Superseded), string(store.Cancelled), string(store.Rejected),
}

func unknownStatus(s string) string {
	return "Unknown status " + s + "; use " + strings.Join(statuses, ", ") + "."
}

// filter parses the query of a list of executions. A non-empty detail describes
// an invalid query. more lists additional parameters that this list supports.
func filter(query url.Values, more ...string) (f store.Filter, cursor string, limit int, detail string) {
	limit = defaultPage
	keys := make([]string, 0, len(query))
	for key := range query {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		value := query.Get(key)
		if len(query[key]) > 1 && key != "status" {
			return f, "", 0, "The parameter " + key + " occurs more than once."
		}
		switch {
		case key == "process":
			f.Process = value
		case key == "status":
			for _, list := range query[key] {
				f.Statuses = append(f.Statuses, strings.Split(list, ",")...)
			}
			for _, s := range f.Statuses {
				if !slices.Contains(statuses, s) {
					return f, "", 0, unknownStatus(s)
				}
			}
		case key == "since" || key == "until":
			t, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return f, "", 0, "The parameter " + key + " must be a time such as 2026-01-02T15:04:05Z."
			}
			if key == "since" {
				f.Since = t
			} else {
				f.Until = t
			}
		case strings.HasPrefix(key, "track.") && len(key) > len("track."):
			if f.Track == nil {
				f.Track = map[string]string{}
			}
			f.Track[strings.TrimPrefix(key, "track.")] = value
		case key == "q":
			f.Text = value
		case key == "fingerprint" && slices.Contains(more, key):
			f.Fingerprint = value
		case key == "cursor":
			cursor = value
		case key == "limit":
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxPage {
				return f, "", 0, "The parameter limit must be a number from 1 to " + strconv.Itoa(maxPage) + "."
			}
			limit = n
		default:
			return f, "", 0, "Unknown parameter " + key + "; use " + strings.Join(append([]string{"process", "status", "since", "until", "track.NAME", "q"}, more...), ", ") + ", cursor and limit."
		}
	}
	return f, cursor, limit, ""
}

// storeStatuses translates statuses for the store, which does not know
// `running`: running executions are accepted, waiting or held there. A filtered
// page may therefore hold fewer executions than its limit.
func storeStatuses(wanted []string) []string {
	if !slices.Contains(wanted, atom.StatusRunning) {
		return wanted
	}
	known := []string{string(store.Accepted), string(store.Waiting), string(store.Held)}
	for _, s := range wanted {
		if s != atom.StatusRunning && !slices.Contains(known, s) {
			known = append(known, s)
		}
	}
	return known
}

// A cursor is the store's cursor with a MAC over the cursor and the filter, so
// that a cursor is valid only for the list that returned it.

const cursorMACSize = 12

func (a *api) cursorMAC(text string, f store.Filter) []byte {
	filter, err := json.Marshal(f)
	if err != nil {
		panic(err) // strings and times always encode
	}
	h := hmac.New(sha256.New, a.digest[:])
	h.Write(filter)
	h.Write([]byte{0})
	h.Write([]byte(text))
	return h.Sum(nil)[:cursorMACSize]
}

func (a *api) signCursor(text string, f store.Filter) string {
	return base64.RawURLEncoding.EncodeToString(append(a.cursorMAC(text, f), text...))
}

func (a *api) verifyCursor(sealed string, f store.Filter) (string, bool) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(b) <= cursorMACSize {
		return "", false
	}
	text := string(b[cursorMACSize:])
	return text, hmac.Equal(b[:cursorMACSize], a.cursorMAC(text, f))
}

func (a *api) listExecutions(w http.ResponseWriter, r *http.Request) {
	f, cursor, limit, detail := filter(r.URL.Query())
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	a.writePage(w, r, f, cursor, limit, a.Executions.List)
}

// writePage responds with one page of a list of executions.
func (a *api) writePage(w http.ResponseWriter, r *http.Request, f store.Filter, cursor string, limit int,
	from func(context.Context, store.Filter, string, int) ([]*atom.ExecutionView, string, error)) {
	if cursor != "" {
		var ok bool
		if cursor, ok = a.verifyCursor(cursor, f); !ok {
			writeProblem(w, http.StatusBadRequest, "The cursor is not from a list with this filter.")
			return
		}
	}
	asked := f
	wanted := f.Statuses
	f.Statuses = storeStatuses(wanted)
	views, next, err := from(r.Context(), f, cursor, limit)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	if len(wanted) > 0 {
		views = slices.DeleteFunc(views, func(v *atom.ExecutionView) bool { return !slices.Contains(wanted, v.Status) })
	}
	list := struct {
		Executions []*atom.ExecutionView `json:"executions"`
		NextCursor string                `json:"next_cursor,omitempty"`
		// SearchedUntil is the receive time of the last execution that the page
		// looked at, if there may be older matches.
		SearchedUntil *time.Time `json:"searched_until,omitempty"`
	}{Executions: views}
	if views == nil {
		list.Executions = []*atom.ExecutionView{}
	}
	if next != "" {
		list.NextCursor = a.signCursor(next, asked)
		if position, err := store.ParseCursor(next); err == nil {
			list.SearchedUntil = &position.Received
		}
	}
	writeJSON(w, http.StatusOK, list)
}

func (a *api) showExecution(w http.ResponseWriter, r *http.Request) {
	if a.rejectQuery(w, r) {
		a.writeExecution(w, r, http.StatusOK, mux.Vars(r)["id"])
	}
}

func (a *api) writeExecution(w http.ResponseWriter, r *http.Request, status int, id string) {
	v, err := a.Executions.Show(r.Context(), id)
	if err != nil {
		a.writeError(w, r, err)
		return
	}
	writeJSON(w, status, v)
}

func (a *api) cancel(w http.ResponseWriter, r *http.Request) {
	id := mux.Vars(r)["id"]
	if err := a.Executions.Cancel(r.Context(), id); err != nil {
		a.writeError(w, r, err)
		return
	}
	a.Log.Info("execution cancelled", "execution", id)
	a.writeExecution(w, r, http.StatusAccepted, id)
}

// rejectQuery responds 400 and returns false if the query has parameters, so
// that a misspelled one is not ignored.
func (a *api) rejectQuery(w http.ResponseWriter, r *http.Request) bool {
	for key := range r.URL.Query() {
		writeProblem(w, http.StatusBadRequest, "Unknown parameter "+key+".")
		return false
	}
	return true
}
