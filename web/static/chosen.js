// The bar of the chosen executions: it shows their number. Enter in the field of tags adds tags instead of comparing.

const bar = document.getElementById("chosen");
const counter = document.getElementById("how-many");

function count() {
  const chosen = document.querySelectorAll(".picked:checked").length;
  const { most } = counter.dataset;
  counter.textContent = `${chosen} chosen${chosen > most ? `, at most ${most} at once` : ""}`;
}

bar?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.id !== "tags") return;
  event.preventDefault();
  document.querySelector("#tag-chosen button").click();
});
// The address of a comparison is meant to be shared, so it leaves out the field of tags.
let shared = false;
bar?.addEventListener("submit", ({ submitter }) => { shared = !submitter?.hasAttribute("formaction"); });
bar?.addEventListener("formdata", ({ formData }) => { if (shared) formData.delete("tags"); });

if (counter) {
  document.addEventListener("change", ({ target }) => target.matches(".picked") && count());
  document.addEventListener("refreshed", count);
  count();
}
