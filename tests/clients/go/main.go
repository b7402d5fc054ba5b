// A day with the Go client that oapi-codegen makes: every operation once, by its own types.
//
//	day URL CA CERTIFICATE KEY
//
// The client is not kept here: package sre is generated beside this file before it is built. Ends with 0 if all was as
// promised.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"clients/sre"
)

const shop, cart, storefront, missing = "shop", "cart", "storefront", "nothing"

type answer interface {
	Status() string
	GetBody() []byte
}

type day struct {
	*sre.ClientWithResponses
	ctx context.Context
}

// came ends the day where there is no answer at all.
func came[R answer](response R, err error) R {
	if err != nil {
		log.Panic(err)
	}
	return response
}

// succeeded returns what the typed field of an answer's one expected status has.
func succeeded[T any](value *T, response answer) T {
	if value == nil {
		log.Panicf("%s: %s", response.Status(), response.GetBody())
	}
	return *value
}

// refused checks for the error of one expected status, and that its message has this in it.
func refused(value *sre.Error, response answer, said string) {
	if message := succeeded(value, response).Message; !strings.Contains(message, said) {
		log.Panicf("no %q in %q", said, message)
	}
}

// expect ends the day unless these are the same.
func expect(what string, found, wanted any) {
	if !reflect.DeepEqual(found, wanted) {
		log.Panicf("%s: %v and not %v", what, found, wanted)
	}
}

// lists: what there is, in both families; unchanged lists are not sent again.
func (d day) lists() {
	first := came(d.ListDeploymentsWithResponse(d.ctx, nil))
	all := succeeded(first.JSON200, first)
	of := slices.IndexFunc(all, func(each sre.DeploymentNames) bool { return each.Namespace == shop })
	expect("cart is listed", slices.Contains(all[of].Deployments, cart), true)
	again := came(d.ListDeploymentsWithResponse(d.ctx, &sre.ListDeploymentsParams{IfNoneMatch: &first.Headers200.ETag}))
	expect("again", again.StatusCode(), http.StatusNotModified)
	alone := came(d.ListDeploymentsOfNamespaceWithResponse(d.ctx, shop, nil))
	expect("shop alone", succeeded(alone.JSON200, alone), all[of:of+1])
	nowhere := came(d.ListDeploymentsOfNamespaceWithResponse(d.ctx, "nowhere", nil))
	refused(nowhere.JSON404, nowhere, "nowhere")

	names := came(d.ListNamespacesWithResponse(d.ctx, nil))
	expect("a namespace", slices.Contains(succeeded(names.JSON200, names).Namespaces, shop), true)
	same := came(d.ListNamespaceDeploymentsWithResponse(d.ctx, shop, nil))
	expect("shop in /namespaces", succeeded(same.JSON200, same), all[of])
	whole := came(d.ListAllDeploymentsWithResponse(d.ctx, nil))
	expect("ANY", succeeded(whole.JSON200, whole), all)
	gone := came(d.ListNamespaceDeploymentsWithResponse(d.ctx, "nowhere", nil))
	refused(gone.JSON410, gone, "nowhere")
	some := came(d.GetNamespaceReplicaCountsWithResponse(d.ctx, shop, nil))
	counts := succeeded(some.JSON200, some)
	everywhere := came(d.GetAllReplicaCountsWithResponse(d.ctx, nil))
	expect("counts of ANY", succeeded(everywhere.JSON200, everywhere)[of], counts)
	one := came(d.GetReplicaCountWithResponse(d.ctx, shop, cart, nil))
	for _, each := range counts.Deployments {
		if each.Deployment == cart {
			expect("count", succeeded(one.JSON200, one).ReplicaCount, each.ReplicaCount)
		}
	}
}

// counts: read, write, and write only if nobody else has; what is refused says why.
func (d day) counts() {
	before := came(d.GetReplicasWithResponse(d.ctx, shop, cart, nil))
	count, tag := succeeded(before.JSON200, before).Replicas, before.Headers200.ETag
	again := came(d.GetReplicasWithResponse(d.ctx, shop, cart, &sre.GetReplicasParams{IfNoneMatch: &tag}))
	expect("again", again.StatusCode(), http.StatusNotModified)

	more, same := sre.DesiredCount{Replicas: count + 1}, sre.DesiredCount{Replicas: count}
	written := came(d.SetReplicasWithResponse(d.ctx, shop, cart, &sre.SetReplicasParams{XReason: new("a busy day")}, more))
	succeeded(written.JSON200, written)
	version := written.Headers200.XResourceVersion
	after := came(d.GetReplicasWithResponse(d.ctx, shop, cart, &sre.GetReplicasParams{XMinResourceVersion: &version}))
	expect("what was written", succeeded(after.JSON200, after).Replicas, count+1)

	stale := came(d.SetReplicasWithResponse(d.ctx, shop, cart, &sre.SetReplicasParams{IfMatch: &tag}, same))
	refused(stale.JSON412, stale, "its count is")
	expect("the tag of a 412", *stale.Headers412.ETag, after.Headers200.ETag)
	current := &sre.SetReplicasParams{IfMatch: stale.Headers412.ETag}
	back := came(d.SetReplicasWithResponse(d.ctx, shop, cart, current, same))
	succeeded(back.JSON200, back)

	few := sre.DesiredCount{Replicas: 2}
	kept := came(d.SetReplicasWithResponse(d.ctx, shop, storefront, nil, few))
	refused(kept.JSON422, kept, "confirm=autoscaler")
	confirmed := &sre.SetReplicasParams{Confirm: &sre.Confirm{sre.ConfirmationAutoscaler}}
	forced := came(d.SetReplicasWithResponse(d.ctx, shop, storefront, confirmed, few))
	succeeded(forced.JSON200, forced)
	none := came(d.GetReplicasWithResponse(d.ctx, shop, missing, nil))
	refused(none.JSON404, none, missing)
	malformed := came(d.GetReplicasWithResponse(d.ctx, shop, "No_Name", nil))
	refused(malformed.JSON400, malformed, "No_Name")
	other := came(d.SetReplicaCountWithResponse(d.ctx, shop, cart, count, nil))
	expect("RFD 1's write", succeeded(other.JSON200, other).ReplicaCount, count)
	gone := came(d.SetReplicaCountWithResponse(d.ctx, shop, missing, 1, nil))
	refused(gone.JSON410, gone, missing)
}

// around: what a count alone does not say.
func (d day) around() {
	since := time.Now().Add(-time.Hour)
	wait := &sre.SetReplicasParams{Prefer: new("wait=60"), XRequestId: new("day-2")}
	waited := came(d.SetReplicasWithResponse(d.ctx, shop, cart, wait, sre.DesiredCount{Replicas: 5}))
	outcome := succeeded(waited.JSON200, waited)
	expect("outcome", *outcome.Outcome, sre.SetReplicas200JSONResponseBodyOutcomeAvailable)
	expect("count", *outcome.Replicas, int32(5))
	expect("what was waited for", *waited.Headers200.PreferenceApplied, "wait=60")
	seen := came(d.GetDeploymentWithResponse(d.ctx, shop, cart, nil))
	picture := succeeded(seen.JSON200, seen)
	expect("ready", *picture.Ready, 5)
	expect("rollout", *picture.Rollout, sre.PictureRolloutSteady)
	expect("the last change", []string{*picture.LastChange.By, *picture.LastChange.RequestId}, []string{"alice", "day-2"})
	news := &sre.GetDeploymentParams{IfNoneMatch: &seen.Headers200.ETag, Prefer: new("wait=1")}
	expect("no news", came(d.GetDeploymentWithResponse(d.ctx, shop, cart, news)).StatusCode(), http.StatusNotModified)
	bounded := came(d.GetDeploymentWithResponse(d.ctx, shop, storefront, nil))
	scaled := sre.Autoscaler{Active: true, Kind: sre.AutoscalerKindHorizontalPodAutoscaler, Max: 10, Min: 3, Name: storefront}
	expect("autoscaler", *succeeded(bounded.JSON200, bounded).Autoscaler, scaled)

	own := came(d.ListChangesOfDeploymentWithResponse(d.ctx, shop, cart, nil))
	changes := succeeded(own.JSON200, own).Changes
	last := changes[len(changes)-1]
	expect("the newest of its changes", last, *picture.LastChange)
	recent := came(d.ListChangesWithResponse(d.ctx, &sre.ListChangesParams{Since: &since}))
	found := slices.ContainsFunc(succeeded(recent.JSON200, recent).Changes, func(each sre.Change) bool { return each.Etag == last.Etag })
	expect("changes since then", found, true)
	undo := sre.DesiredCount{Replicas: last.Before}
	undone := came(d.SetReplicasWithResponse(d.ctx, shop, cart, &sre.SetReplicasParams{IfMatch: &last.Etag}, undo))
	succeeded(undone.JSON200, undone)

	more := sre.DesiredCount{Replicas: last.Before + 1}
	planned := came(d.PlanReplicasWithResponse(d.ctx, shop, cart, nil, more))
	expect("plan", succeeded(planned.JSON200, planned).Verdict, sre.PlanVerdictWillHold)
	held := &sre.SetReplicasParams{IfMatch: &planned.Headers200.ETag}
	kept := came(d.SetReplicasWithResponse(d.ctx, shop, cart, held, more))
	succeeded(kept.JSON200, kept)
	late := came(d.SetReplicasWithResponse(d.ctx, shop, cart, held, more))
	refused(late.JSON412, late, "its count is")
	doomed := came(d.PlanReplicasWithResponse(d.ctx, shop, storefront, nil, sre.DesiredCount{Replicas: 1}))
	plan := succeeded(doomed.JSON200, doomed)
	expect("a plan that is refused", plan.Verdict, sre.PlanVerdictIsRefused)
	expect("the worst finding", plan.Findings[0].About, sre.PlanFindingsAboutGuardrail)

	may := came(d.GetPermissionsWithResponse(d.ctx, shop, cart, nil))
	permitted := succeeded(may.JSON200, may)
	expect("who may", []any{permitted.Identity, permitted.Read.Allowed, permitted.Scale.Allowed}, []any{"alice", true, true})
}

// forATime: a count with an end, which is put off and then comes at once.
func (d day) forATime() {
	before := came(d.GetReplicasWithResponse(d.ctx, shop, cart, nil))
	count := succeeded(before.JSON200, before).Replicas
	sale := &sre.SetTemporaryParams{XReason: new("sale")}
	body := sre.SetTemporaryJSONRequestBody{Replicas: count + 2, For: "2h"}
	first := came(d.SetTemporaryWithResponse(d.ctx, shop, cart, sale, body))
	made := succeeded(first.JSON201, first)
	expect("temporary", []int32{made.Replicas, made.Original}, []int32{count + 2, count})
	expect("whose", []string{made.By, *made.Reason}, []string{"alice", "sale"})
	body.For = "3h"
	second := came(d.SetTemporaryWithResponse(d.ctx, shop, cart, nil, body))
	putOff := succeeded(second.JSON200, second)
	expect("put off", putOff.Until.After(made.Until), true)
	read := came(d.GetTemporaryWithResponse(d.ctx, shop, cart, nil))
	one := succeeded(read.JSON200, read)
	expect("its end", one.Until, putOff.Until)
	list := came(d.ListTemporaryWithResponse(d.ctx, nil))
	expect("all of them", succeeded(list.JSON200, list).Temporary, []sre.TemporaryOfDeployment{one})
	seen := came(d.GetDeploymentWithResponse(d.ctx, shop, cart, nil))
	expect("in the picture", succeeded(seen.JSON200, seen).Temporary.Until, one.Until)
	ended := came(d.EndTemporaryWithResponse(d.ctx, shop, cart, nil))
	expect("ended", succeeded(ended.JSON200, ended).Replicas, count)
	none := came(d.GetTemporaryWithResponse(d.ctx, shop, cart, nil))
	refused(none.JSON404, none, "temporary")
}

// operations: what probes, Prometheus and this client's own generator ask for.
func (d day) operations() {
	live := came(d.LivezWithResponse(d.ctx, nil))
	succeeded(live.JSON200, live)
	ready := came(d.ReadyzWithResponse(d.ctx, nil))
	succeeded(ready.JSON200, ready)
	measured := came(d.MetricsWithResponse(d.ctx, nil))
	expect("metrics", measured.StatusCode(), http.StatusOK)
	document := came(d.OpenapiWithResponse(d.ctx, nil))
	expect("document", string(succeeded(document.JSON200, document).Openapi), "3.1.0")
}

func main() {
	url, authority, certificate, key := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(authority)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		log.Panicf("no CA in %s: %v", authority, err)
	}
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		log.Panic(err)
	}
	trust := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	http := &http.Client{Transport: &http.Transport{TLSClientConfig: trust}, Timeout: 90 * time.Second}
	client, err := sre.NewClientWithResponses(url, sre.WithHTTPClient(http))
	if err != nil {
		log.Panic(err)
	}
	d := day{client, context.Background()}
	for _, part := range []func(){d.lists, d.counts, d.around, d.forATime, d.operations} {
		part()
	}
}
