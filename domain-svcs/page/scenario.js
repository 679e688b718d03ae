// The scenario of the shop, step by step over REST: what `make demo` plays, and an order that cannot be served.
// Each step waits until the events show what it is for.

import { euros, plural } from "./dom.js";
import { del, post, put, unique } from "./rest.js";
import { label } from "./words.js";

const PRODUCTS = [
  "Oolong tea", "Espresso cup", "Linen apron", "Beeswax candle", "Olive soap",
  "Walnut board", "Wool blanket", "Copper kettle", "Paper lamp", "Oak stool",
];
const CUSTOMERS = [
  "Ada Novak", "Björn Dahl", "Chiara Conti", "Deniz Kaya", "Elif Aydin",
  "Farid Haddad", "Grace Okafor", "Hana Sato", "Ines Costa", "Jonas Weber",
];
const TEN = Array.from({ length: 10 }, (_, i) => i);
const STOCK = 100;
const PAID = 0;
const DELETED = 2;
const MAILS = 22;
const price = (i) => (i + 1) * 10;

/** One round: ten customers and what becomes of their orders. */
export class Round {
  id = unique().slice(0, 6);
  products = [];
  customers = [];
  carts = [];
  orders = [];
  #shop;
  #choose;

  /** `choose` is called with the order that is worth watching. */
  constructor(shop, choose) {
    this.#shop = shop;
    this.#choose = choose;
  }

  /** Title, what goes on inside, and how to play it; each answers what came of it. */
  static steps = [
    ["Ten products", "Ten commands on the queue of product-service; each answer comes with one event in the topic product.", (round) => round.#makeProducts()],
    ["Ten customers", "customer-service stores each; crm-service hears of it and asks mail-service for a welcome.", (round) => round.#makeCustomers()],
    [`${STOCK} pieces of each product`, "inventory-service first looks whether the product exists.", (round) => round.#makeStock()],
    ["Ten carts", "With one to ten products. cart-service refuses what is out of stock.", (round) => round.#makeCarts()],
    ["The first cart changes", "One product more, while nothing is ordered yet.", (round) => round.#changeCart()],
    ["Ten orders", "Each begins as Created. inventory-service takes the whole cart out of stock, or nothing of it; then the order is In stock.", (round) => round.#makeOrders()],
    ["The third order is deleted", "inventory-service puts its products back, once.", (round) => round.#deleteOrder()],
    ["The first order is paid", "billing-service takes the price of the cart and nothing else. The order is Cleared; shipping-service sends it, so it is Shipped.", (round) => round.#pay()],
    ["The first order arrives", "Its shipping gets a time of delivery: the order is Delivered.", (round) => round.#deliver()],
    ["Everything adds up", `Stock to the piece, and ${MAILS} mails: no fewer, no more.`, (round) => round.#check()],
    ["Two orders for the last piece", "Both customers have it in their carts. One order gets it; the other is Out of stock.", (round) => round.#sellOut()],
  ];

  /** Trying again what failed has the same keys, and does nothing twice. */
  #key(what) {
    return `page-${this.id}-${what}`;
  }

  async #create(kind, entity, who = TEN) {
    const made = who.map(async (i) => (await post(`/${kind}`, entity(i), this.#key(`${kind}-${i}`)))[0]);
    return Promise.all(made);
  }

  #seen(kind, ids) {
    const missing = () => ids.filter((id) => !this.#shop.get(kind, id)).length;
    return this.#shop.until(() => `${missing()} events of ${kind}`, () => missing() === 0);
  }

  async #makeProducts() {
    this.products = await this.#create("product", (i) => ({ name: PRODUCTS[i], price: price(i) }));
    await this.#seen("product", this.products);
    return "ten products";
  }

  #email(i) {
    return `${CUSTOMERS[i].split(" ")[0].normalize("NFD").replace(/[^A-Za-z]/g, "").toLowerCase()}.${this.id}@example.com`;
  }

  async #makeCustomers() {
    this.customers = await this.#create("customer", (i) => ({ name: CUSTOMERS[i], email: this.#email(i) }));
    await this.#seen("customer", this.customers);
    return "ten customers";
  }

  async #makeStock() {
    this.inventories = await this.#create("inventory", (i) => ({ product_id: this.products[i], amount: STOCK }));
    await this.#seen("inventory", this.inventories);
    return `${STOCK} pieces of each`;
  }

  async #makeCarts() {
    this.carts = await this.#create("cart", (i) => ({ customer_id: this.customers[i], product_ids: this.products.slice(0, i + 1) }));
    await this.#seen("cart", this.carts);
    return "ten carts";
  }

  async #changeCart() {
    await put(`/cart/${this.carts[PAID]}`, { product_ids: this.products.slice(0, 2) }, this.#key("change"));
    return "two products in the first cart";
  }

  async #makeOrders() {
    // The one to be watched first, so that it can be.
    this.orders = await this.#create("order", (i) => ({ cart_id: this.carts[i] }), [PAID]);
    this.#choose(this.orders[PAID]);
    this.orders.push(...(await this.#create("order", (i) => ({ cart_id: this.carts[i] }), TEN.slice(1))));
    await Promise.all(this.orders.map((id) => this.#becomes(id, ["IN_STOCK"])));
    return "ten orders in stock";
  }

  #becomes(id, statuses) {
    const status = () => this.#shop.get("order", id)?.status;
    return this.#shop.until(
      () => `order ${id} to be ${label(statuses[0])}; it is ${label(status()) || "not known"}`,
      () => statuses.includes(status()),
    );
  }

  async #deleteOrder() {
    const id = this.orders[DELETED];
    if (this.#shop.get("order", id)) await del(`/order/${id}`, this.#key("delete"));
    await this.#shop.until(() => `order ${id} to be gone`, () => !this.#shop.get("order", id));
    return "nine orders are left";
  }

  async #pay() {
    const order = this.orders[PAID];
    const sum = price(0) + price(1);
    await post("/billing", { order_id: order, amount: sum }, this.#key("pay"));
    await this.#becomes(order, ["SHIPPED", "DELIVERED"]);
    return `${euros(sum)} paid, and sent`;
  }

  async #deliver() {
    const order = this.orders[PAID];
    const find = () => this.#shop.all("shipping").find((shipping) => shipping.order_id === order);
    const shipping = await this.#shop.until(() => `a shipping of order ${order}`, find);
    await put(`/shipping/${shipping.entity_id}`, { delivered: Math.floor(Date.now() / 1000) }, this.#key("deliver"));
    await this.#becomes(order, ["DELIVERED"]);
    return "delivered";
  }

  /** Pieces of a product in orders that were not deleted. */
  #ordered(i) {
    const carts = TEN.filter((order) => order !== DELETED && order >= i).length;
    return i === 1 ? carts + 1 : carts;
  }

  async #check() {
    const left = (i) => this.#shop.get("inventory", this.inventories[i])?.amount;
    const wrong = () => TEN.filter((i) => left(i) !== STOCK - this.#ordered(i)).length;
    await this.#shop.until(() => `the stock of ${plural(wrong(), "product")} to add up`, () => wrong() === 0);
    const customers = new Set(TEN.map((i) => this.#email(i)));
    const mails = () => this.#shop.all("mail").filter(({ to }) => customers.has(to)).length;
    await this.#shop.until(() => `${MAILS} mails; there are ${mails()}`, () => mails() >= MAILS);
    if (mails() > MAILS) throw new Error(`${mails()} mails were sent instead of ${MAILS}`);
    return `stock to the piece, ${MAILS} mails`;
  }

  async #sellOut() {
    const last = TEN.length - 1;
    await put(`/inventory/${this.inventories[last]}`, { amount: 1 }, this.#key("scarce"));
    const entity = (i) => ({ customer_id: this.customers[i], product_ids: [this.products[last]] });
    const carts = await Promise.all([0, 1].map(async (i) => (await post("/cart", entity(i), this.#key(`last-cart-${i}`)))[0]));
    const order = async (i) => (await post("/order", { cart_id: carts[i] }, this.#key(`last-order-${i}`)))[0];
    await this.#becomes(await order(0), ["IN_STOCK"]);
    const late = await order(1);
    this.#choose(late);
    await this.#becomes(late, ["OUT_OF_STOCK"]);
    return "one is in stock, the other out of stock";
  }
}
