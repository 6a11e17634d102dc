// The bar of the chosen executions: how many they are, and Enter in the field of tags adds them instead of comparing.

const bar = document.getElementById("chosen");
const many = document.getElementById("how-many");

function count() {
  const chosen = document.querySelectorAll(".picked:checked").length;
  const { most } = many.dataset;
  many.textContent = `${chosen} chosen${chosen > most ? `, at most ${most} at once` : ""}`;
}

bar?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.target.id !== "tags") return;
  event.preventDefault();
  document.querySelector("#tag-chosen button").click();
});
// Compare is a link to be shared: without the field.
let shared = false;
bar?.addEventListener("submit", ({ submitter }) => { shared = !submitter?.hasAttribute("formaction"); });
bar?.addEventListener("formdata", ({ formData }) => { if (shared) formData.delete("tags"); });

if (many) {
  document.addEventListener("change", ({ target }) => target.matches(".picked") && count());
  document.addEventListener("refreshed", count);
  count();
}
