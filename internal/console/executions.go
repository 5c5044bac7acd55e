package console

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

	"github.com/gorilla/mux"

	"valence/atom"
)

const (
	defaultPage = 50
	largestPage = 500
)

// statuses are what ?status= takes.
var statuses = []string{
	string(atom.Accepted), atom.StatusRunning, string(atom.Waiting), string(atom.Held),
	string(atom.Completed), string(atom.CompletedWithWarnings), string(atom.Failed),
	string(atom.Expired), string(atom.Superseded), string(atom.Cancelled),
}

func noStatus(s string) string {
	return "There is no status " + s + "; there are " + strings.Join(statuses, ", ") + "."
}

// filter reads the query of a list of executions; detail tells what is wrong
// with it. More names parameters that this list has besides those of all.
func filter(query url.Values, more ...string) (f atom.Filter, cursor string, limit int, detail string) {
	limit = defaultPage
	keys := make([]string, 0, len(query))
	for key := range query {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	for _, key := range keys {
		value := query.Get(key)
		if len(query[key]) > 1 && key != "status" {
			return f, "", 0, "The parameter " + key + " is given more than once."
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
					return f, "", 0, noStatus(s)
				}
			}
		case key == "since" || key == "until":
			t, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return f, "", 0, "The parameter " + key + " takes a time such as 2026-01-02T15:04:05Z."
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
			if err != nil || n < 1 || n > largestPage {
				return f, "", 0, "The parameter limit takes a number from 1 to " + strconv.Itoa(largestPage) + "."
			}
			limit = n
		default:
			return f, "", 0, "There is no parameter " + key + "; there are " + strings.Join(append([]string{"process", "status", "since", "until", "track.NAME", "q"}, more...), ", ") + ", cursor and limit."
		}
	}
	return f, cursor, limit, ""
}

// stored gives the statuses that a store knows: running is one of its
// accepted, waiting and held executions that the atom has in hand, so a page
// may hold fewer than its limit.
func stored(wanted []string) []string {
	if !slices.Contains(wanted, atom.StatusRunning) {
		return wanted
	}
	known := []string{string(atom.Accepted), string(atom.Waiting), string(atom.Held)}
	for _, s := range wanted {
		if s != atom.StatusRunning && !slices.Contains(known, s) {
			known = append(known, s)
		}
	}
	return known
}

// A cursor is the store's, with a code that only this console can make and
// that holds for one filter: so none is ever misread.

const cursorCode = 12

func (c *console) cursorCode(text string, f atom.Filter) []byte {
	filter, err := json.Marshal(f)
	if err != nil {
		panic(err) // texts and times can always be written
	}
	h := hmac.New(sha256.New, c.digest[:])
	h.Write(filter)
	h.Write([]byte{0})
	h.Write([]byte(text))
	return h.Sum(nil)[:cursorCode]
}

func (c *console) sealCursor(text string, f atom.Filter) string {
	return base64.RawURLEncoding.EncodeToString(append(c.cursorCode(text, f), text...))
}

func (c *console) openCursor(sealed string, f atom.Filter) (string, bool) {
	b, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(b) <= cursorCode {
		return "", false
	}
	text := string(b[cursorCode:])
	return text, hmac.Equal(b[:cursorCode], c.cursorCode(text, f))
}

func (c *console) listExecutions(w http.ResponseWriter, r *http.Request) {
	f, cursor, limit, detail := filter(r.URL.Query())
	if detail != "" {
		writeProblem(w, http.StatusBadRequest, detail)
		return
	}
	c.list(w, r, f, cursor, limit, c.Executions.List)
}

// list answers with one page of a list of executions.
func (c *console) list(w http.ResponseWriter, r *http.Request, f atom.Filter, cursor string, limit int,
	from func(context.Context, atom.Filter, string, int) ([]*atom.View, string, error)) {
	if cursor != "" {
		var ok bool
		if cursor, ok = c.openCursor(cursor, f); !ok {
			writeProblem(w, http.StatusBadRequest, "The cursor is not one that a list with this filter gave.")
			return
		}
	}
	asked := f
	wanted := f.Statuses
	f.Statuses = stored(wanted)
	views, next, err := from(r.Context(), f, cursor, limit)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	if len(wanted) > 0 {
		views = slices.DeleteFunc(views, func(v *atom.View) bool { return !slices.Contains(wanted, v.Status) })
	}
	list := struct {
		Executions []*atom.View `json:"executions"`
		NextCursor string       `json:"next_cursor,omitempty"`
	}{Executions: views}
	if views == nil {
		list.Executions = []*atom.View{}
	}
	if next != "" {
		list.NextCursor = c.sealCursor(next, asked)
	}
	writeJSON(w, http.StatusOK, list)
}

func (c *console) showExecution(w http.ResponseWriter, r *http.Request) {
	if c.onlyQuery(w, r) {
		c.answerExecution(w, r, http.StatusOK, mux.Vars(r)["id"])
	}
}

func (c *console) answerExecution(w http.ResponseWriter, r *http.Request, status int, id string) {
	v, err := c.Executions.Show(r.Context(), id)
	if err != nil {
		c.fail(w, r, err)
		return
	}
	writeJSON(w, status, v)
}

func (c *console) cancel(w http.ResponseWriter, r *http.Request) {
	id := mux.Vars(r)["id"]
	if err := c.Executions.Cancel(r.Context(), id); err != nil {
		c.fail(w, r, err)
		return
	}
	c.Log.Info("execution cancelled", "execution", id)
	c.answerExecution(w, r, http.StatusAccepted, id)
}

// onlyQuery refuses parameters that the call does not know, so that a
// misspelt one is never taken for none.
func (c *console) onlyQuery(w http.ResponseWriter, r *http.Request) bool {
	for key := range r.URL.Query() {
		writeProblem(w, http.StatusBadRequest, "There is no parameter "+key+" here.")
		return false
	}
	return true
}
